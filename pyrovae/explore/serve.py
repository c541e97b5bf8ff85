"""Server of the page, for this machine only."""

from __future__ import annotations

from typing import Any

from pyrovae import checks
from pyrovae.explore.app import build_blocks, import_gradio
from pyrovae.explore.session import Session

__all__ = ["serve"]

HOST = "127.0.0.1"

# Gradio has click events only: while the pointer is dragged, a click is sent at each position.
_DRAG = """
<script>
document.addEventListener("pointermove", (event) => {
  const image = event.target.closest && event.target.closest("#plane img");
  if (!image || event.buttons !== 1) return;
  event.preventDefault();
  image.dispatchEvent(new MouseEvent("click", {bubbles: true, clientX: event.clientX, clientY: event.clientY}));
});
document.addEventListener("dragstart", (event) => {
  if (event.target.closest && event.target.closest("#plane")) event.preventDefault();
});
</script>
"""
# Gradio would draw a selected radio button white on white under the pointer, and hide tabs in a menu on a phone. In the
# dark, planes are turned over: black becomes white, and the hues of the classes stay. On a phone, marginals scroll
# rather than become too small to be read.
_CSS = """
#plane img, #map img { cursor: crosshair; }
#plane img { touch-action: none; }
.cells table { width: 100%; }
.cells table, .cells thead, .cells tbody, .cells tr { border: 0 !important; }
.cells th, .cells td { border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
.cells td:first-child { overflow-wrap: anywhere; }
@media (max-width: 760px) {
  #marginals { overflow-x: auto; }
  #marginals * { justify-content: start !important; }
  #marginals img { min-width: 700px; object-fit: contain; }
}
input[type=radio]:checked { background-color: var(--checkbox-background-color-selected) !important; }
.dark #plane img, .dark #map img, .dark #marginals img { filter: invert(0.94) hue-rotate(180deg) brightness(1.2); }
@media (max-width: 500px) {
  .tab-container button { padding-inline: 9px !important; }  /* also of the hidden copy that is measured */
}
@media (max-width: 370px) {
  .tab-container button { padding-inline: 4px !important; }
}
"""


def serve(session: Session, title: str, port: int = 7860, *, wait: bool = True) -> Any:
    """Serve a session's page on 127.0.0.1 until the process is interrupted.

    Nothing is sent to, or asked of, any other machine.

    Args:
        session: session that computes the answers.
        title: title of the page.
        port: port of the server; 0 for any free port.
        wait: True to return only when interrupted, False to return at once.

    Returns:
        Gradio's blocks, whose ``local_url`` is the page's address and whose ``close()`` stops the server.

    Raises:
        ValueError: if Gradio is missing, or the port is taken or too large.
    """
    if checks.integer("port", port, minimum=0) > 65535:
        raise checks.InputError(f"port must be at most 65535, but {port} was given")
    gradio = import_gradio()
    blocks: Any = build_blocks(session, title)
    sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # fonts of the system: none is downloaded
    try:
        blocks.launch(
            server_name=HOST,
            server_port=port or _free_port(),
            share=False,
            inbrowser=False,
            quiet=True,
            show_error=True,
            prevent_thread_lock=True,
            theme=gradio.themes.Default(font=sans, font_mono=mono),
            css=_CSS,
            head=_DRAG,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
        )
    except OSError as error:
        raise checks.InputError(f"port must be one that is free, but {port} was given") from error
    if wait:
        print(f"the page is {blocks.local_url}; Ctrl+C ends it", flush=True)
        blocks.block_thread()
    return blocks


def _free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind((HOST, 0))
        found: int = listening.getsockname()[1]
    return found
