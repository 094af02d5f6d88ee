//! What the system lets this process hold.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process open as many descriptors as it may: each TCP flow and each local UDP address holds one, and shells
/// start programs with 1,024. Programs started later inherit it. Gives the limit, none if there is none.
///
/// # Errors
/// The system's; the limit stays as it was.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_descriptors_as_allowed_can_be_opened() {
        let before = getrlimit(Resource::Nofile);
        let lowered = Rlimit {
            current: Some(256),
            ..before
        };
        setrlimit(Resource::Nofile, lowered).unwrap();
        assert_eq!(raise_descriptor_limit().unwrap(), before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
