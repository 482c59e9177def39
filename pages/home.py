"""Home: which runs there are and how far each has come. It reads and starts nothing; the command line does that."""

import streamlit as st

from studio.services import open_studio

st.set_page_config(page_title="Studio", layout="wide")
st.title("Studio")


@st.fragment(run_every=2.0)
def runs() -> None:
    """The table of runs, newest first, read again every two seconds."""
    rows = open_studio().pipelines.list_runs()
    if not rows:
        st.info("There is no run yet. Start one on the command line: `studio pipeline run --wait`")
        return
    running = sum(row["phase"] not in ("complete", "failed") for row in rows)
    st.caption(f"{len(rows)} runs, {running} in progress")
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "id": st.column_config.TextColumn("run"),
            "val_loss": st.column_config.NumberColumn("validation loss (nats/token)", format="%.3f"),
        },
    )


runs()
st.caption("Talk to the newest model on the command line: `studio chat latest`")
