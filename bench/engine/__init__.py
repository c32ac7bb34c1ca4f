"""The overhead of Headrace over an engine: llama.cpp through Headrace and llama.cpp itself."""
