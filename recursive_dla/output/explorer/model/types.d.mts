// The shapes of what the modules hand to one another.

/** What the page holds; docs/format.md describes it. */
export interface GraphDocument {
  format: string;
  version: number;
  metadata: Metadata;
  nodes: DocumentNode[];
  edges: { source: string; target: string; weight: number }[];
}

export interface Metadata {
  model?: string;
  prompt?: string;
  tokens?: { pos: number; text: string; token_id?: number | null }[];
  target?: { label?: string; pos?: number; wrong_answer?: string | null };
  value?: number;
  completeness_error?: number;
  rule?: string;
  pruning?: Record<string, unknown> | null;
  /** Nodes that were merged before the page was made, by the id of what they became. */
  groups?: Record<string, Member[]>;
}

export interface DocumentNode {
  id: string;
  kind: string;
  component: string;
  layer: number;
  head: number | null;
  pos: number;
  attribution: number;
  rest_in: number;
  rest_out: number;
}

/** What is known of a merged node. */
export type Member = Pick<DocumentNode, "id" | "kind" | "component" | "pos" | "attribution">;

export interface GraphNode {
  id: string;
  /** Its place in the graph's nodes. */
  index: number;
  kind: string;
  component: string;
  layer: number;
  head: number | null;
  pos: number;
  attribution: number;
  restIn: number;
  restOut: number;
  merged: Member[];
  /** The strongest first, as are the outputs. */
  inputs: GraphEdge[];
  outputs: GraphEdge[];
}

/** Pinned nodes seen as one. */
export interface Group {
  /** After those of the graph's nodes. */
  index: number;
  key: number;
  kind: "group";
  name: string;
  folded: boolean;
  members: GraphNode[];
  attribution: number;
  restIn: number;
  restOut: number;
  /** What flows from one member to another. */
  inner: number;
  inputs: Edge<GraphNode, Group>[];
  outputs: Edge<Group, GraphNode>[];
}

/** What can be drawn, selected and walked to. */
export type Item = GraphNode | Group;

export interface Edge<Source extends Item = Item, Target extends Item = Item> {
  source: Source;
  target: Target;
  weight: number;
}

export interface GraphEdge extends Edge<GraphNode, GraphNode> {
  /** Its place among the edges, the strongest first. */
  index: number;
}

/** What a reader has chosen to see; never changed in place. */
export interface State {
  selected: { node: string; group?: undefined } | { group: number; node?: undefined } | null;
  /** Paths unfolded in the tree of the selected item. */
  open: string[];
  /** Of all absolute edge weight, held by the strongest edges. */
  share: number;
  /** Only what leads to a logit. */
  rooted: boolean;
  /** Kinds. */
  hidden: string[];
  /** Lowest and highest. */
  layers: [number, number] | null;
  /** Only these, or all if there are none. */
  heads: number[];
  /** Only these positions, or all if there are none. */
  tokens: number[];
  query: string;
  /** Ids of nodes. */
  pins: string[];
  groups: GroupState[];
  compact: boolean;
}

export interface GroupState {
  key: number;
  name: string;
  /** Ids of nodes, none of which is in `pins`. */
  members: string[];
  folded: boolean;
}

/** What the slider and the filters are set to. */
export type Settings = Pick<State, "share" | "rooted" | "hidden" | "layers" | "heads" | "tokens">;

/** The camera's middle, in shares of the layout, and its zoom: 1 shows everything. */
export interface CameraView {
  x: number;
  y: number;
  zoom: number;
}

/** Null is what the system asks for. */
export type Theme = "light" | "dark" | null;

/** Positions by item index. */
export interface Positions {
  x: Float32Array;
  y: Float32Array;
}

/** Four points of a Bézier curve: x, y of each. */
export type Curve = [number, number, number, number, number, number, number, number];

export type RingStyle = "match" | "member" | "pinned" | "selected" | "cursor";
