//! A Kubernetes API server and kubelet that is a program.
