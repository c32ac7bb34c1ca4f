"""Adapters that are added and removed while replicas serve: their live set, their files, and who may call them."""
