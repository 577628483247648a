"""Modules that ``python -m tiervec.rpc.generate`` wrote; do not edit."""
