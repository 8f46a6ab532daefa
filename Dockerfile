FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends chromium make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /lecore
COPY . .
RUN make .venv/locked
ENV PATH=/lecore/.venv/bin:$PATH
CMD ["make", "book", "LOCK=1"]
