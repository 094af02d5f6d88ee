//! The addresses of all interfaces: getifaddrs(3).

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// The list that the system made, given back when dropped.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list came from `getifaddrs` and is freed once.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// Every address, with the name of its interface.
///
/// # Errors
/// The system's.
pub(crate) fn all() -> io::Result<BTreeMap<IpAddr, String>> {
    let mut first = ptr::null_mut();
    // SAFETY: the pointer is to a live pointer, which the call fills.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(first);
    let mut addresses = BTreeMap::new();
    let mut next: *const libc::ifaddrs = list.0;
    // SAFETY: null or an entry of the list, which lives until `list` is dropped.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: the entry's address is null or a socket address of the family that it names.
        if let Some(address) = unsafe { ip(entry.ifa_addr) } {
            // SAFETY: the name is a NUL-terminated string of the list.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            addresses.insert(address, name.to_string_lossy().into_owned());
        }
        next = entry.ifa_next;
    }
    Ok(addresses)
}

/// The IP address in a socket address, if it is one of IP.
///
/// # Safety
/// `address` is null or points to a socket address as long as its family has them.
unsafe fn ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null or at least the head that all families share.
    let family = unsafe { address.as_ref() }?.sa_family;
    match libc::c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: of this family; read unaligned, as nothing is said of where it lies.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: of this family; read unaligned, as nothing is said of where it lies.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::all;
    use crate::sys::test_network::{in_new_network, ip};

    #[test]
    fn addresses_of_both_families_come_and_go() {
        in_new_network(|| {
            ip("link add eth0 type veth peer name far0");
            ip("link set eth0 up");
            for address in ["192.0.2.1/24", "2001:db8::1/64"] {
                ip(&format!("address add {address} dev eth0"));
            }
            let present = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
            let addresses = all().unwrap();
            assert!(
                present
                    .iter()
                    .all(|address| addresses.get(address).is_some_and(|name| name == "eth0"))
            );
            ip("address del 192.0.2.1/24 dev eth0");
            let addresses = all().unwrap();
            assert!(!addresses.contains_key(&present[0]) && addresses.contains_key(&present[1]));
        });
    }
}
