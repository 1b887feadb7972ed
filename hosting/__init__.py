"""Obtain, start and drive a real ComfyUI, for tests and the demo. Development only, not part of the published pack."""
