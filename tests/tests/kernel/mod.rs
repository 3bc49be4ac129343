mod dataplane;
mod gate;
mod packets;
