"""System tests: the Debian package on a booted systemd of each release it is for.

They need root, and the tools that `machine.py` names; without them they are skipped and say why. They boot each
release from a tree that is kept outside the repository, so that only the first run is slow.
"""
