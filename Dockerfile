# The page at http://localhost:7860:  docker build -t fashion . && docker run --rm -p 127.0.0.1:7860:7860 fashion
FROM python:3.13-slim

RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app

# Without this PyTorch brings 4 GB of CUDA libraries.
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt onnx onnxruntime
COPY app.py ./
COPY fashion_model ./fashion_model

USER user
# MALLOC_ARENA_MAX: glibc otherwise keeps freed memory for each of the server's many threads.
ENV GRADIO_SERVER_NAME=0.0.0.0 PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
EXPOSE 7860
HEALTHCHECK --start-period=60s --timeout=10s \
    CMD python -c "import httpx2; httpx2.get('http://127.0.0.1:7860/gradio_api/info', trust_env=False).raise_for_status()"
CMD ["python", "app.py"]
