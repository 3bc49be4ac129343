mod dataplane;
mod packets;
