"""Nested machines: Debian hosts of their own on one Linux host, with systemd, sshd, a network and control groups.

They stand in for machines that a user reaches over SSH. Everything that makes one is in its namespaces or its folder,
so that what ends it leaves nothing on the host.
"""
