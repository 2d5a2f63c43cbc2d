# kube-proxy and the part of Debian's iptables that it calls, nothing else.
ARG NODE_BASE
FROM ${NODE_BASE} AS iptables
RUN mkdir /out \
 && cp -a --parents /usr/sbin/xtables-nft-multi /usr/sbin/iptables-nft* /usr/sbin/ip6tables-nft* /usr/lib/*/xtables /out/ \
 && for file in /usr/sbin/xtables-nft-multi /usr/sbin/conntrack /usr/lib/*/xtables/*.so; do \
      ldd "$file" | grep -o '/[^ ]*' | while read -r library; do cp -L --parents "$library" /out/; done; done \
 && cp --parents /usr/sbin/conntrack /out/ \
 && for name in iptables ip6tables; do for verb in "" -save -restore; do \
      ln -s xtables-nft-multi "/out/usr/sbin/$name$verb"; done; done
FROM scratch
COPY --from=iptables /out/ /
COPY kube-proxy /usr/local/bin/kube-proxy
