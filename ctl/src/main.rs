//! The operator's command and the daemon; everything is in the library.

use lockstep_ctl::exit::Exit;

fn main() -> Exit {
    lockstep_ctl::cli::run(std::env::args_os())
}
