# An Asterisk as the agents' PBX, from Debian's own packages.
FROM debian:forky-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends asterisk asterisk-modules asterisk-core-sounds-en-gsm \
 && rm -rf /var/lib/apt/lists/*
COPY examples/asterisk/pjsip.conf examples/asterisk/extensions.conf /etc/asterisk/
EXPOSE 5060/udp
CMD ["asterisk", "-f", "-U", "asterisk"]
