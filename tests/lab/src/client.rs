//! What a client saw, in one word: commands for [`bash`](crate::Namespace::bash) that print it.
//!
//! Each is a program of its own (the system's Python), so that it can run through the gateway and be attributed.

/// Connects and prints `connected`, `timeout`, or the error's name (`ECONNREFUSED`, `EHOSTUNREACH`, ...).
pub fn connect(address: &str, port: u16, patience_seconds: u32) -> String {
    python(&format!(
        "
import errno, socket
try:
    socket.create_connection(('{address}', {port}), {patience_seconds})
    print('connected')
except TimeoutError as error:
    print(errno.errorcode.get(error.errno, 'timeout'))
except OSError as error:
    print(errno.errorcode[error.errno])"
    ))
}

/// Sends a datagram to an echo service and prints `echoed`, `timeout`, or the error's name.
pub fn udp_echo(address: &str, port: u16, patience_seconds: u32) -> String {
    let family = if address.contains(':') {
        "AF_INET6"
    } else {
        "AF_INET"
    };
    python(&format!(
        "
import errno, socket
client = socket.socket(socket.{family}, socket.SOCK_DGRAM)
client.settimeout({patience_seconds})
try:
    client.connect(('{address}', {port}))
    client.send(b'anybody there?')
    print('echoed' if client.recv(100) == b'anybody there?' else 'garbled')
except TimeoutError:
    print('timeout')
except OSError as error:
    print(errno.errorcode[error.errno])"
    ))
}

fn python(program: &str) -> String {
    format!("/usr/bin/python3 -c \"{program}\"")
}
