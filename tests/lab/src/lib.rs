//! The network lab: namespaces, links and servers for tests.
