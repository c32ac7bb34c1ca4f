"""Pods on node pools: who owns the GPUs, what disks and weights need, what nodes cost, and whether models fit."""
