"""What is learned from uncached runs: recordings in, a profile out. Nothing here is needed to sample."""
