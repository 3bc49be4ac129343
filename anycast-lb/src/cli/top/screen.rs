//! The terminal while `top` has it: given back whatever happens.

use std::io;

use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// The terminal in raw mode, its other screen shown; as it was when dropped, and in a panic.
pub struct Screen(DefaultTerminal);

impl Screen {
    /// Takes it.
    ///
    /// # Errors
    /// It is none, or cannot do that.
    pub fn take() -> io::Result<Self> {
        // This installs a panic hook that gives it back, before the message of the panic is printed.
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screen(terminal)),
            Err(error) => {
                // It may have got half of the way.
                ratatui::restore();
                Err(error)
            }
        }
    }

    /// Draws a picture, of whatever size the terminal has now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn draw(&mut self, paint: impl FnOnce(&mut Buffer, Rect)) -> io::Result<()> {
        self.0.draw(|frame| {
            let area = frame.area();
            paint(frame.buffer_mut(), area);
        })?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
