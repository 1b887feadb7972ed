"""ComfyUI nodes: one class a file, no maths. host.py alone knows ComfyUI's internals."""
