"""Nested machines: Debian hosts on one Linux host, with their own systemd, sshd, network and control groups.

They substitute machines that a user reaches over SSH. Everything of a machine is in its namespaces or its folder,
so that nothing is left on the host after its end.
"""
