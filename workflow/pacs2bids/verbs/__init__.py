"""One module a verb of the command line: ``configure(parser)`` and ``run(arguments)``."""
