// Goes through a graph file as attribution-graph viewers do, and throws where one of them would fail.

/** What a viewer makes of a file: nodes by stream and position, labelled, with their links. */
function walk(data, byNode) {
  const { prompt_tokens: tokens } = data.metadata;
  const inner = data.nodes.filter((node) => node.feature_type !== "logit");
  const top = Math.max(...inner.map((node) => Number(node.layer)).filter((layer) => !Number.isNaN(layer)));
  if (!top) throw new Error("no layer above the first");
  const known = new Map();
  const sameFeature = new Map();
  for (const node of data.nodes) {
    node.feature_id = byNode ? `${node.layer}_${node.feature}_${node.ctx_idx}` : `${node.layer}_${node.feature}`;
    if (node.feature_type === "logit") {
      node.layer = top + 1;
      node.share = Number(node.clerp.split("(p=")[1].split(")")[0]);
      node.token = node.clerp.split('"')[1];
    } else if (node.feature_type === "embedding") {
      node.clerp = `Emb: ${tokens[node.ctx_idx]}`;
    }
    node.key = byNode ? node.node_id : node.jsNodeId;
    node.inputs = [];
    node.outputs = [];
    if (known.has(node.node_id)) throw new Error(`two nodes are called ${node.node_id}`);
    known.set(node.node_id, node);
    sameFeature.set(node.feature_id, [...(sameFeature.get(node.feature_id) ?? []), node]);
  }
  // What is found nearly everywhere is taken to say nothing.
  const dropped = [...sameFeature.values()].filter((nodes) => nodes.length > (tokens.length * 2) / 3).flat();
  for (const node of dropped) known.delete(node.node_id);
  for (const link of data.links) {
    const [from, to] = [known.get(link.source), known.get(link.target)];
    if (!from || !to) throw new Error(`a link leads nowhere: ${link.source} ${link.target}`);
    from.outputs.push(link);
    to.inputs.push(link);
  }
  for (const node of known.values()) {
    const all = node.inputs.reduce((sum, link) => sum + Math.abs(link.weight), 0);
    for (const link of node.inputs) link.part = link.weight / all;
    node.stream = Number.isFinite(Number(node.layer)) ? Number(node.layer) : 0;
    // A label belongs to a feature: the first node that has it gives it to all.
    node.label = sameFeature.get(node.feature_id)[0].clerp;
  }
  return [...known.values()];
}

/** Those that are shown while only so much of the influence is. */
function shown(nodes, threshold) {
  return nodes.filter((node) => node.feature_type === "logit" || node.influence <= threshold);
}

function draw(nodes, tokens) {
  const place = document.getElementById("graph");
  const rows = new Map();
  for (const node of nodes) rows.set(node.stream, [...(rows.get(node.stream) ?? []), node]);
  for (const stream of [...rows.keys()].sort((a, b) => b - a)) {
    const row = place.appendChild(document.createElement("div"));
    for (const node of rows.get(stream)) {
      const item = row.appendChild(document.createElement("span"));
      item.dataset.node = node.key;
      // As viewers do it, which is why labels must hold no markup.
      item.innerHTML = `${node.label} ${tokens[node.ctx_idx]}`;
    }
  }
}

async function open(byNode, threshold) {
  const { graphs } = await (await fetch("graph-metadata.json")).json();
  const slug = graphs.at(-1).slug;
  const data = await (await fetch(`${slug}.json`)).json();
  if (data.metadata.slug !== slug) throw new Error("the file has another name than its list says");
  const nodes = walk(data, byNode);
  draw(shown(nodes, threshold), data.metadata.prompt_tokens);
  return nodes.map(({ key, label, share, token, stream, inputs, outputs, influence }) => ({
    key, label, share, token, stream, influence,
    inputs: inputs.map((link) => [link.weight, link.part]), outputs: outputs.length,
  }));
}
