"""What Headrace costs an engine: llama.cpp through it and llama.cpp itself."""
