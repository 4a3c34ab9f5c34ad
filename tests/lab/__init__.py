"""The lab: real kernels on this machine, two hosts with two disks each and a private link."""
