"""This machine and this process: files that survive a crash, forks, threads, what is installed."""
