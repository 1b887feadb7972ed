"""What is learned about one model from a few uncached runs: linear maps, forecasts, and what to compute when."""
