"""Measurements on the demo model in a real ComfyUI; what they write is part of the documentation."""
