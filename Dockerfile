# Studio without a GPU. The home is a volume; the image holds no data.
#   docker build -t studio .
#   docker run --rm -it -v studio-home:/home/studio/outputs studio pipeline run --wait
FROM python:3.11-slim

# g++ is for torch.compile; without it training runs in eager mode
RUN apt-get update && apt-get install -y --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 studio
WORKDIR /opt/studio
COPY --chown=studio:studio . .
RUN chown studio:studio /opt/studio
USER studio
RUN scripts/install && rm -rf /home/studio/.cache/pip

ENV STUDIO_HOME=/home/studio/outputs PATH=/opt/studio/.venv/bin:$PATH
RUN mkdir -m 700 "$STUDIO_HOME"
VOLUME /home/studio/outputs
ENTRYPOINT ["studio"]
CMD ["--help"]
