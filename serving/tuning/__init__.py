"""Tuning of models: the recipes that a job runs in a child process, in an environment with PyTorch, TRL and PEFT.

A gateway never imports them. The child and its parent share `plan`, and talk through files and lines of JSON alone.
"""
