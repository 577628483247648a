"""Modules that ``python -m tiervec.service.generate`` wrote; do not edit."""
