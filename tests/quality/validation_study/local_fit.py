"""Members trained in this process, without Spark and without towers, and their candidates."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from m6rec.config.run import Config
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.arrays.recency import recency_ranks
from m6rec.kernels.arrays.rows import Float32, Int64, Rows
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.projection import ATTRIBUTE_WEIGHT, FactorModel
from m6rec.kernels.factors.svd import randomized_svd, svd_factor_model
from m6rec.kernels.neighbours.content import ContentEncoder, unit_rows
from m6rec.kernels.neighbours.content_neighbours import (
    content_weights,
    represent_by_neighbours,
    warm_postings,
)
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, item_neighbours, transpose
from m6rec.kernels.neighbours.ridge import ridge
from m6rec.kernels.neighbours.transitions import transitions
from m6rec.kernels.neighbours.user_neighbours import CandidateUsers, user_neighbour_search
from m6rec.kernels.ranking.blending import Blend, Candidates, evidence_bins
from m6rec.kernels.ranking.candidates import deviations_of, held_by, score_candidates
from m6rec.kernels.ranking.expanded_history import ExpandedHistoryMember
from m6rec.kernels.ranking.members import (
    ContentUserEncoder,
    DirectionEncoder,
    DotMember,
    FactorEncoder,
    HistoryMember,
    Member,
    UserBlock,
    UserNeighboursMember,
    popularity_member,
)
from m6rec.kernels.ranking.scoring import masked_for_users, prepare_blend
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.stages.training.factors import heaviest_terms
from m6rec.stages.training.neighbours import kept_entries, share_of_vectors
from tests.matrix_rows import rows_from_scipy
from tests.quality.validation_study.data import Data, Pairs


class LocalFit:
    """What is trained on some pairs, and measured on others."""

    def __init__(self, data: Data, training: Pairs, held_out: Pairs, settings: Config) -> None:
        self.data = data
        self.settings = settings
        self.rows, self.times = _rows_of(training, data)
        self.targets = _rows_of(held_out, data)[0]
        self.item_counts: Int64 = np.bincount(training.items, minlength=data.n_items)

    def with_settings(self, settings: Config) -> "LocalFit":
        """The same pairs, with other settings."""
        other = copy(self)
        other.settings = settings
        for trained in ("svd", "ridge", "_als", "_neighbours"):
            other.__dict__.pop(trained, None)
        return other

    def members(self) -> dict[str, Member]:
        """All members that the data can feed, but for towers."""
        members: list[Member] = [
            self.svd,
            self.als,
            self.ridge,
            HistoryMember("item_neighbours", self._neighbours, "square_root"),
            self._user_neighbours(),
        ]
        if self.data.training.times is not None:
            scale = self.settings.neighbours.recency_scale
            members += [
                self.recent_ridge,
                HistoryMember("recent_item_neighbours", self._neighbours, "square_root", scale),
                self._transitions(),
            ]
        if self.data.content is not None:
            members += [self.als_cosine, self._content(), self._content_neighbours()]
        members.append(popularity_member(self.item_counts))
        return {member.name: member for member in members}

    @cached_property
    def svd(self) -> DotMember:
        config = self.settings.factors.svd
        result = randomized_svd(self.rows, self.data.n_items, config, 1, LocalCommunicator())
        model = svd_factor_model(result, config)
        return DotMember("svd", FactorEncoder(model), self._stood_in(model, model.scored_factors))

    @property
    def als(self) -> DotMember:
        model = self._als
        return DotMember("als", FactorEncoder(model), self._stood_in(model, model.scored_factors))

    @property
    def als_cosine(self) -> DotMember:
        vectors = unit_rows(self._stood_in(self._als, self._als.scored_factors))
        return DotMember("als_cosine", DirectionEncoder(self._als), vectors)

    @cached_property
    def ridge(self) -> HistoryMember:
        settings, n_items = self.settings.neighbours.ridge, self.data.n_items
        weights = ridge(
            self.rows,
            n_items,
            settings.candidates,
            settings.user_exponent,
            settings.item_exponent,
            settings.regularisation,
            kept_entries(n_items),
        )
        return HistoryMember("ridge", weights, "square_root")

    @property
    def recent_ridge(self) -> HistoryMember:
        scale = self.settings.neighbours.recency_scale
        return HistoryMember("recent_ridge", self.ridge.weights, "square_root", scale)

    @cached_property
    def _als(self) -> FactorModel:
        config, n_items = self.settings.factors.als, self.data.n_items
        rows = self.rows
        if self.data.content is not None and config.attribute_weight > 0.0:
            by_term = sp.csr_matrix(heaviest_terms(self.data.content.terms).T)
            shared = by_term[np.diff(by_term.indptr) > 1] * np.float32(config.attribute_weight)
            matrix = sp.vstack([shared, rows.to_scipy(n_items)]).tocsr()
            index = np.arange(matrix.shape[0], dtype=np.int64) - shared.shape[0]
            rows = rows_from_scipy(matrix, index)
        model = alternating_least_squares(rows, n_items, config, 1, LocalCommunicator())
        parameters = model.parameters | {ATTRIBUTE_WEIGHT: config.attribute_weight}
        return replace(model, interaction_counts=self.item_counts, parameters=parameters)

    @cached_property
    def _neighbours(self) -> ItemWeights:
        config = self.settings.neighbours
        return item_neighbours(
            self.rows,
            self.data.n_items,
            config.neighbours,
            config.user_exponent,
            config.item_exponent,
        )

    def _user_neighbours(self) -> UserNeighboursMember:
        config = self.settings.neighbours
        with_history = self.rows.take(np.flatnonzero(self.rows.counts))
        search = user_neighbour_search(
            CandidateUsers(with_history),
            self.data.n_items,
            config.user_neighbours,
            config.item_exponent,
        )
        return UserNeighboursMember(search)

    def _transitions(self) -> HistoryMember:
        config = self.settings.neighbours.transitions
        weights = transitions(
            self.rows,
            self.times,
            self.data.n_items,
            config.window,
            config.kept,
            config.history_exponent,
            config.target_exponent,
            self.settings.neighbours.maximum_history,
        )
        return HistoryMember("transitions", weights, recency_scale=config.recency_scale)

    def _content(self) -> DotMember:
        assert self.data.content is not None
        vectors = self.data.content.vectors
        return DotMember("content", ContentUserEncoder(ContentEncoder(vectors)), vectors)

    @cached_property
    def _content_weights(self) -> ItemWeights:
        """By target."""
        content, config = self.data.content, self.settings.neighbours.content
        assert content is not None
        postings = warm_postings(content.terms, self.item_counts, config.longest_posting, 1)
        return content_weights(
            content.terms,
            content.vectors,
            postings,
            np.arange(self.data.n_items, dtype=np.int32),
            config.candidates,
            share_of_vectors(config, of_vectors=False),
            config.regularisation,
        )

    def _content_neighbours(self) -> ExpandedHistoryMember:
        config = self.settings.neighbours.content
        return ExpandedHistoryMember(
            "content_neighbours",
            transpose(self._content_weights),
            HistoryMember("ridge", self.ridge.weights),
            config.expansion,
            config.expanded,
        )

    def _stood_in(self, model: FactorModel, vectors: Float32) -> Float32:
        """As in `m6rec.fits.members`: content stands in for items without interactions."""
        if self.data.content is None or model.knows_attributes:
            return vectors
        return represent_by_neighbours(vectors, self._content_weights, self.item_counts)

    def measured_users(self, maximum: int) -> ValidationUsers:
        """Users with held-out items, at most so many, spread evenly."""
        with_targets = np.flatnonzero(self.targets.counts)
        step = max(1, -(-len(with_targets) // maximum))
        users = with_targets[::step]
        rows = self.rows.take(users)
        entries = np.concatenate(
            [np.arange(self.rows.indptr[u], self.rows.indptr[u + 1]) for u in users]
        )
        times = self.times[entries]
        none = np.zeros((len(users), 0), np.float32)
        recency = recency_ranks(rows.indptr, times)
        block = UserBlock(rows, none, none, {}, recency, times)
        targets = self.targets.take(users)
        nothing = np.zeros(self.data.n_items, np.bool_)
        return ValidationUsers(block, targets.indptr, targets.item_indices, nothing)

    def candidates(
        self,
        members: Mapping[str, Member],
        measured: ValidationUsers,
        n: int,
        deviations: np.ndarray | None = None,
    ) -> tuple[Candidates, np.ndarray]:
        """What the members offer the users, as `collect_candidates` collects it.

        Args:
            members: by name.
            measured: the users.
            n: the length of each member's lists.
            deviations: float64 [members]; those of the fit that chose the weights, else their own.
        """
        blends = [Blend(name, (name,), (1.0,), (1.0,)) for name in members]
        prepared = [prepare_blend(blend, members, self.item_counts) for blend in blends]
        rows = measured.users.rows
        seen = [(rows.indptr, rows.item_indices)]
        masked = masked_for_users(seen, len(rows), measured.masked_items)
        found = score_candidates(prepared, members, measured.users, masked, n)
        own = deviations_of(found.moments)
        scale = own if deviations is None else deviations
        relevant = held_by(
            found.indptr, found.items, measured.target_indptr, measured.targets, self.data.n_items
        )
        candidates = Candidates(
            found.indptr,
            np.ascontiguousarray(found.scores.T) / scale.astype(np.float32)[:, None],
            relevant,
            np.diff(measured.target_indptr),
            evidence_bins(self.item_counts)[found.items],
            evidence_bins(rows.counts),
            np.arange(len(rows)),
        )
        return candidates, own


def _rows_of(pairs: Pairs, data: Data) -> tuple[Rows, Int64]:
    """The rows of all users, and the times of their entries."""
    order = np.lexsort((pairs.items, pairs.users))
    counts = np.bincount(pairs.users, minlength=data.n_users)
    times = np.zeros(len(pairs), np.int64) if pairs.times is None else pairs.times
    rows = Rows(
        np.arange(data.n_users, dtype=np.int64),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        pairs.items[order].astype(np.int32),
        np.ones(len(pairs), np.float32),
    )
    return rows, times[order]
