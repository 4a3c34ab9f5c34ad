"""Two Debian 12 hosts with systemd as process 1, in containers: the package as an operator has it."""
