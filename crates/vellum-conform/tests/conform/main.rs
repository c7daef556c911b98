//! The comparison with the Linux that runs the tests. On any other system there is nothing to compare with, and these
//! tests say so and pass.

mod differences;
mod lockstep;
mod mistakes;
mod pages;

use vellum_conform::Linux;

/// Linux, if it is here.
fn linux() -> Option<Linux> {
    match Linux::start() {
        Ok(linux) => Some(linux),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}
