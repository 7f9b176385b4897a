# The demo in a container: docker build -t eigenselect . && docker run --rm -v "$PWD/out:/app/out" eigenselect
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# There is no git in the image, and no history to read.
ENV GIT_PYTHON_REFRESH=quiet
COPY . .
# The processor's own wheels of torch: the default ones bring gigabytes for GPUs.
RUN pip config --user set global.extra-index-url https://download.pytorch.org/whl/cpu \
    && make .venv/.installed-demo
CMD ["make", "demo"]
