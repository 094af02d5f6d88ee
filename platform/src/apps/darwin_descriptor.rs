//! What macOS tells of a socket that a process holds (`struct socket_fdinfo`, sys/proc_info.h), as far as it names the socket.

/// Where the kind of socket stands, and for one of the Internet its generation: behind what is told of a file (24 bytes),
/// of its inode (136) and of every socket (104), and behind its two ports.
const KIND: usize = 256;
const GENERATION: usize = 272;
/// `SOCKINFO_IN`, `SOCKINFO_TCP`: both begin with the same fields.
const INTERNET: i32 = 1;
const TCP: i32 = 2;

/// The number that the list of sockets has for it too (`inp_gencnt`); `None` for sockets that are not of the Internet.
pub(crate) fn generation(info: &[u8]) -> Option<u64> {
    let kind = i32::from_ne_bytes(*info.get(KIND..)?.first_chunk()?);
    let generation = u64::from_ne_bytes(*info.get(GENERATION..)?.first_chunk()?);
    matches!(kind, INTERNET | TCP).then_some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_the_internet_has_a_generation_and_a_path_socket_none() {
        let mut info = vec![0xee; 792];
        info[272..280].copy_from_slice(&77_u64.to_ne_bytes());
        for (kind, expected) in [(1_i32, Some(77)), (2, Some(77)), (3, None), (0, None)] {
            info[256..260].copy_from_slice(&kind.to_ne_bytes());
            assert_eq!(generation(&info), expected);
        }
        assert_eq!(generation(&info[..279]), None);
    }
}
