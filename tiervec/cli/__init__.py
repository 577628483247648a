"""The ``tiervec`` command: one module per subcommand, each with ``add_parser``.

What is slow to import is imported when a command runs, so that ``--help`` is quick.
"""
