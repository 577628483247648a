"""Vectors as callers have them: arrays, Arrow columns, files, and the files of true neighbours."""
