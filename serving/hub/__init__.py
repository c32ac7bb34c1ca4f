"""The model hub: versions of models and adapters, what they were made of, and their artefacts."""
