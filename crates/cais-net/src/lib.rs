//! Networks as the kernel has them, spoken to by netlink (netlink(7), rtnetlink(7)).
