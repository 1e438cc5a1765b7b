"""Files of weights: verified folders of safetensors, and other people's files read without running them."""
