mod dataplane;
mod gate;
mod observed;
mod packets;
