"""Pictures of reports and of comparisons, in numpy and Pillow; nothing here knows ComfyUI."""
