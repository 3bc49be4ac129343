//! How connection IDs name servers: `[pool.quic]`, and `server_id` of a backend.

use anycast_lb_common::abi::ServerIds;

use crate::config::reader::Section;
use crate::config::report::At;
use crate::model::{Quic, ServerId};

/// `[pool.quic]` with its defaults.
pub(in crate::config) struct QuicDraft {
    pub ids: ServerIds,
}

pub(super) fn read(pool: &Section<'_>) -> QuicDraft {
    let mut ids = ServerIds { config: Quic::DEFAULT_CONFIG, len: Quic::DEFAULT_LEN };
    if let Some(section) = pool.table("quic") {
        let number =
            |key, range, hint| Some(u8::try_from(section.integer(key, range, hint)?.value).unwrap_or(0));
        let most = u64::from(ServerIds::MAX_CONFIG);
        if let Some(config) = number("config", 0..=most, "0 to 6, as the servers have it; 7 names nobody") {
            ids.config = config;
        }
        let most = u64::from(ServerIds::MAX_LEN);
        if let Some(len) =
            number("server_id_length", 1..=most, "the octets of a server ID, 1 to 6; 3 is the default")
        {
            ids.len = len;
        }
        section.finish();
    }
    QuicDraft { ids }
}

pub(super) fn server_id(backend: &Section<'_>) -> Option<At<ServerId>> {
    let field = backend.field("server_id")?;
    let text = field.string()?;
    let longest = 2 * usize::from(ServerIds::MAX_LEN);
    let digits = text.value.len();
    let fits = digits.is_multiple_of(2) && (2..=longest).contains(&digits);
    match u64::from_str_radix(&text.value, 16).ok().filter(|_| fits && !text.value.starts_with('+')) {
        Some(id) => Some(At { value: ServerId { id, len: (digits / 2) as u8 }, spot: text.spot }),
        None => {
            field.problem(
                format!("`{}` is no server ID", text.value),
                format!(
                    "write 2 to {longest} hexadecimal digits, two for each octet: server_id = \"0a0b0c\""
                ),
            );
            None
        }
    }
}
