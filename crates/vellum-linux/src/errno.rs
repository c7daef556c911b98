//! Linux's error numbers.

use core::fmt;
use vellum::Error;

/// A number with which a system call fails, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// Defines the numbers and their names once.
macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Errno = Errno($number);)*

            /// The name, as programs know it; `None` for a number that no call here returns.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Errno::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM = 1;
    /// Input or output failed.
    EIO = 5;
    /// The descriptor is not open.
    EBADF = 9;
    /// Memory is short; another time there may be some.
    EAGAIN = 11;
    /// Out of memory, of address space, or not mapped.
    ENOMEM = 12;
    /// Permission denied.
    EACCES = 13;
    /// Bad address.
    EFAULT = 14;
    /// A limit of the process's group is reached.
    EBUSY = 16;
    /// Something is there already.
    EEXIST = 17;
    /// Invalid argument.
    EINVAL = 22;
    /// A value is too large for its type.
    EOVERFLOW = 75;
    /// Not supported.
    EOPNOTSUPP = 95;
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl core::error::Error for Errno {}

/// The number for a kind of mistake, where a call has no other for it.
impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        Errno(error.errno())
    }
}
