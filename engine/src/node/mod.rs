//! The shell: the only room where replica meets uring.
