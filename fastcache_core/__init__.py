"""FastCache's engine: which blocks and tokens of a diffusion transformer to compute, and what stands in for the rest.

Needs torch and numpy only; knows nothing of ComfyUI. Start reading at `engine.py`.
"""
